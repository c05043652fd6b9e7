# plimsoll_catalog(TARGET): embeds catalog/models/*.json into TARGET, as the table that config/model_catalog.cpp reads.
# Run as a script (cmake -P) with FOLDER and OUT it writes that table.
if(CMAKE_SCRIPT_MODE_FILE)
  file(GLOB names RELATIVE ${FOLDER} ${FOLDER}/*.json)
  list(TRANSFORM names REPLACE "\\.json$" "")
  list(SORT names)
  set(text "// Made from catalog/models/ by cmake/catalog.cmake.\n#include \"config/model_catalog.h\"\n\n")
  string(APPEND text "namespace plimsoll::detail {\nconst CatalogModel kCatalogModels[] = {\n")
  foreach(name ${names})
    file(READ ${FOLDER}/${name}.json json)
    string(APPEND text "{\"${name}\", R\"json(${json})json\"},\n")
  endforeach()
  list(LENGTH names count)
  string(APPEND text "};\nconst size_t kCatalogModelCount = ${count};\n}  // namespace plimsoll::detail\n")
  file(WRITE ${OUT} "${text}")
  return()
endif()

function(plimsoll_catalog target)
  set(folder ${CMAKE_SOURCE_DIR}/catalog/models)
  set(table ${CMAKE_BINARY_DIR}/catalog_models.cpp)
  file(GLOB files CONFIGURE_DEPENDS ${folder}/*.json)
  add_custom_command(OUTPUT ${table} DEPENDS ${files} ${CMAKE_SOURCE_DIR}/cmake/catalog.cmake
    COMMAND ${CMAKE_COMMAND} -DFOLDER=${folder} -DOUT=${table} -P ${CMAKE_SOURCE_DIR}/cmake/catalog.cmake
    COMMENT "Embedding the catalogue of models")
  target_sources(${target} PRIVATE ${table})
endfunction()

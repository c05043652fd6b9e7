# plimsoll_stage(NAME [FOLDERS ...] [LIBRARIES ...]): the library of one folder of src/, with the FOLDERS inside it, out of
# every .cpp that is not a test. Its tests (foo_test.cpp beside foo.cpp) become one program, NAME_test.
function(plimsoll_stage name)
  cmake_parse_arguments(ARG "" "" "LIBRARIES;FOLDERS" ${ARGN})
  string(REPLACE "/" "_" target "plimsoll_${name}")
  set(patterns ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  foreach(folder ${ARG_FOLDERS})  # parts of the stage that have a folder of their own
    list(APPEND patterns ${CMAKE_SOURCE_DIR}/src/${name}/${folder}/*.cpp)
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(NOT sources)
    message(FATAL_ERROR "src/${name} has no sources")
  endif()
  add_library(${target} STATIC ${sources})
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${target} PUBLIC ${ARG_LIBRARIES})
  if(PLIMSOLL_TESTS AND tests)
    plimsoll_test(${target}_test SOURCES ${tests} LIBRARIES ${target})
  endif()
endfunction()

# plimsoll_test(NAME SOURCES ... LIBRARIES ...): a GoogleTest program; each TEST is a ctest test.
# Tests find their data under tests/ by PLIMSOLL_TEST_DATA.
function(plimsoll_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  find_package(GTest REQUIRED)
  include(GoogleTest)
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gtest GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE PLIMSOLL_TEST_DATA="${CMAKE_SOURCE_DIR}/tests")
  # Plans must not depend on what this machine has kept of its own speed.
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 900 ENVIRONMENT PLIMSOLL_CACHE=off)
endfunction()

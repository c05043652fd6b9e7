# Debian packages; docs/dependencies.md says why each is here.
find_package(Threads REQUIRED)
# oneDNN by hand: its own CMake package asks for the OpenCL development files, which only its GPU side needs.
find_path(PLIMSOLL_DNNL_INCLUDE dnnl.hpp REQUIRED)
find_library(PLIMSOLL_DNNL dnnl REQUIRED)
add_library(DNNL::dnnl UNKNOWN IMPORTED)
set_target_properties(DNNL::dnnl PROPERTIES
  IMPORTED_LOCATION ${PLIMSOLL_DNNL} INTERFACE_INCLUDE_DIRECTORIES ${PLIMSOLL_DNNL_INCLUDE})
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
if(PLIMSOLL_FUZZ)
  add_library(OpenMP::OpenMP_CXX INTERFACE IMPORTED)  # no fuzzer reaches oneDNN; clang's OpenMP would be one package more
else()
  find_package(OpenMP REQUIRED)
endif()
find_package(PkgConfig REQUIRED)
pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
find_package(CURL 7.85 REQUIRED)
find_package(OpenSSL REQUIRED)
if(PLIMSOLL_TESTS)
  pkg_check_modules(httplib REQUIRED IMPORTED_TARGET cpp-httplib)  # the hub of the tests
endif()
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
find_package(ZLIB REQUIRED)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(libedit REQUIRED IMPORTED_TARGET libedit)

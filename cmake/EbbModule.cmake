# ebb_module(): declares one module of the product, and refuses a dependency that is not on a lower layer.
#
#   ebb_module(devices LAYER 3
#     PUBLIC base model            # modules that its headers include
#     PRIVATE lifecycle            # modules that only its sources include
#     LINK_PUBLIC Boost::headers   # libraries, likewise
#     LINK_PRIVATE PkgConfig::sqlite3
#     INSTALL)                     # it, and so all that it uses, is part of the C++ package
#
# The folder of the module holds  include/ebb/<module>/*.h  src/*.cc  tests/*_test.cc : they are found by
# themselves; tests/<group>/*.cc are a program of their own. Headers must compile alone (target all_verify_interface_header_sets). A module sees the headers
# of those that it names and of nobody else, so the table of layers in docs/architecture.md cannot rot.

include_guard(GLOBAL)
include(GoogleTest)

# Fails the configuration unless every one of DEPENDENCIES stands on a layer below LAYER.
function(_ebb_check_layers module layer)
  foreach(dependency IN LISTS ARGN)
    if(NOT TARGET ebb_${dependency})
      message(FATAL_ERROR "module '${module}' names '${dependency}', which is no module declared before it")
    endif()
    get_target_property(below ebb_${dependency} EBB_LAYER)
    if(NOT below LESS layer)
      message(FATAL_ERROR "module '${module}' (layer ${layer}) may not use '${dependency}' (layer ${below}): "
                          "a module uses only lower layers; see docs/architecture.md")
    endif()
  endforeach()
endfunction()

# What unit tests include, compiled once for all that name the same target: it is most of what a test costs to compile.
# A program and not a library, since the tests are programs too and must share its flags.
function(_ebb_test_headers headers libraries)
  if(NOT TARGET ${headers})
    file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/test_headers.cc" CONTENT "int main() {}\n")
    add_executable(${headers} EXCLUDE_FROM_ALL "${CMAKE_BINARY_DIR}/test_headers.cc")
    target_link_libraries(${headers} PRIVATE ${libraries} GTest::gmock)
    target_precompile_headers(${headers} PRIVATE <gmock/gmock.h> <gtest/gtest.h> ${ARGN})
  endif()
endfunction()

# Makes MODULE part of the package. What it links through pkg-config is for EbbConfig.cmake to find again, and so must be
# called there as pkg-config calls it.
function(_ebb_install module)
  set_property(GLOBAL APPEND PROPERTY EBB_MODULES ${module})
  install(TARGETS ebb_${module} EXPORT EbbTargets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
          FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
  foreach(library IN LISTS ARGN)
    if(library MATCHES "^PkgConfig::(.+)$")
      set_property(GLOBAL APPEND PROPERTY EBB_PKG_CONFIG_MODULES ${CMAKE_MATCH_1})
    endif()
  endforeach()
endfunction()

# In the function that declares the module, whose arguments it sees.
macro(_ebb_add_tests module program prefix)
  add_executable(${program} ${ARGN})
  target_include_directories(${program} PRIVATE src tests)
  foreach(below IN LISTS arg_TEST_HELPERS)  # headers of the tests of modules that it uses
    target_include_directories(${program} PRIVATE "${PROJECT_SOURCE_DIR}/modules/${below}/tests")
  endforeach()
  target_link_libraries(${program} PRIVATE ${target} ${arg_TEST_LINK} GTest::gmock GTest::gtest_main)
  foreach(dependency IN LISTS arg_PRIVATE)
    target_link_libraries(${program} PRIVATE ebb_${dependency})
  endforeach()
  if(arg_TEST_PRECOMPILE)
    set(precompiled ebb_${module}_test_headers)
    _ebb_test_headers(${precompiled} "${target};${arg_TEST_LINK}" ${arg_TEST_PRECOMPILE})
  else()
    set(precompiled ebb_test_headers)
    _ebb_test_headers(${precompiled} "" <chrono> <filesystem> <fstream> <functional> <map> <optional> <string> <variant> <vector>)
  endif()
  target_precompile_headers(${program} REUSE_FROM ${precompiled})
  math(EXPR timeout "120 * ${EBB_PATIENCE}")
  gtest_discover_tests(${program} TEST_PREFIX "${prefix}/" PROPERTIES TIMEOUT ${timeout} LABELS unit
                       DISCOVERY_TIMEOUT 60)
endmacro()

function(ebb_module module)
  cmake_parse_arguments(PARSE_ARGV 1 arg "INSTALL" "LAYER" "PUBLIC;PRIVATE;LINK_PUBLIC;LINK_PRIVATE;TEST_LINK;TEST_HELPERS;TEST_PRECOMPILE;PRECOMPILE")
  if(arg_UNPARSED_ARGUMENTS OR NOT DEFINED arg_LAYER)
    message(FATAL_ERROR "ebb_module(${module}): a LAYER is required; unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  _ebb_check_layers(${module} ${arg_LAYER} ${arg_PUBLIC} ${arg_PRIVATE})

  set(target ebb_${module})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/*.cc)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS include/*.h)
  file(GLOB tests CONFIGURE_DEPENDS tests/*.cc)

  if(sources)
    add_library(${target} STATIC ${sources})
    set(scope PUBLIC)
    target_include_directories(${target} PRIVATE src)
    target_link_libraries(${target} PRIVATE ${arg_LINK_PRIVATE})
    foreach(dependency IN LISTS arg_PRIVATE)
      target_link_libraries(${target} PRIVATE ebb_${dependency})
    endforeach()
    if(arg_PRECOMPILE)
      target_precompile_headers(${target} PRIVATE ${arg_PRECOMPILE})
    endif()
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  add_library(Ebb::${module} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EBB_LAYER ${arg_LAYER} EXPORT_NAME ${module}
                                             VERIFY_INTERFACE_HEADER_SETS ON)
  target_sources(${target} ${scope} FILE_SET HEADERS BASE_DIRS include FILES ${headers})
  target_compile_features(${target} ${scope} cxx_std_20)
  target_link_libraries(${target} ${scope} ${arg_LINK_PUBLIC})
  foreach(dependency IN LISTS arg_PUBLIC)
    target_link_libraries(${target} ${scope} ebb_${dependency})
  endforeach()
  if(arg_INSTALL)
    _ebb_install(${module} ${arg_LINK_PUBLIC} ${arg_LINK_PRIVATE})
  endif()

  if(tests)
    _ebb_add_tests(${module} ${module}_test "${module}" ${tests})
  endif()
  # tests/<group>/*.cc are programs of their own, <module>_<group>_test, which the same flags and headers serve.
  file(GLOB groups CONFIGURE_DEPENDS LIST_DIRECTORIES true RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}/tests" tests/*)
  foreach(group IN LISTS groups)
    if(IS_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/tests/${group}")
      file(GLOB tests CONFIGURE_DEPENDS tests/${group}/*.cc)
      _ebb_add_tests(${module} ${module}_${group}_test "${module}_${group}" ${tests})
    endif()
  endforeach()
endfunction()

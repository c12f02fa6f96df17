# The C++ package: the modules that ebb_module(… INSTALL) names, found by find_package(Ebb) from an installation
# (component "library"; it may be moved) and from a build folder. Included after the last module.

include(CMakePackageConfigHelpers)
set(folder "${CMAKE_INSTALL_LIBDIR}/cmake/Ebb")

get_property(EBB_MODULES GLOBAL PROPERTY EBB_MODULES)
list(TRANSFORM EBB_MODULES PREPEND ebb_ OUTPUT_VARIABLE libraries)
add_custom_target(library DEPENDS ${libraries})
get_property(EBB_PKG_CONFIG_MODULES GLOBAL PROPERTY EBB_PKG_CONFIG_MODULES)
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/EbbConfig.cmake.in" "${CMAKE_BINARY_DIR}/EbbConfig.cmake"
                              INSTALL_DESTINATION "${folder}" NO_SET_AND_CHECK_MACRO)
# Before 1.0 each minor version may change what programs see.
write_basic_package_version_file("${CMAKE_BINARY_DIR}/EbbConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
export(EXPORT EbbTargets NAMESPACE Ebb:: FILE "${CMAKE_BINARY_DIR}/EbbTargets.cmake")
install(EXPORT EbbTargets NAMESPACE Ebb:: DESTINATION "${folder}" COMPONENT library)
install(FILES "${CMAKE_BINARY_DIR}/EbbConfig.cmake" "${CMAKE_BINARY_DIR}/EbbConfigVersion.cmake"
        DESTINATION "${folder}" COMPONENT library)

file(RELATIVE_PATH EBB_PC_TO_PREFIX "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" EBB_PC_TO_PREFIX "${EBB_PC_TO_PREFIX}")
configure_file("${CMAKE_CURRENT_LIST_DIR}/ebb.pc.in" "${CMAKE_BINARY_DIR}/ebb.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/ebb.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT library)

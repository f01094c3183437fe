# nvcc, the CUDA runtime and CCCL from PyPI, for machines without a CUDA toolkit: 270 MB in the build
# folder, nothing outside it. Sets CMAKE_CUDA_COMPILER and CUDAToolkit_ROOT in the caller's scope.
function(faiss_flash_cuda_from_pypi)
    find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
    set(environment ${PROJECT_BINARY_DIR}/cuda-from-pypi)
    if(NOT EXISTS ${environment}/complete)
        message(STATUS "Installing cuda-toolkit[nvcc,cudart,cccl] from PyPI")
        execute_process(COMMAND ${Python_EXECUTABLE} -m venv ${environment}
                COMMAND_ERROR_IS_FATAL ANY)
        execute_process(
                COMMAND ${environment}/bin/python -m pip install --quiet
                        "cuda-toolkit[nvcc,cudart,cccl]==13.0.*"
                COMMAND_ERROR_IS_FATAL ANY)
        file(TOUCH ${environment}/complete)
    endif()
    file(GLOB root LIST_DIRECTORIES true
            ${environment}/lib/python*/site-packages/nvidia/cu13)
    if(NOT EXISTS ${root}/bin/nvcc)
        message(FATAL_ERROR "cuda-toolkit from PyPI has no nvcc in ${environment}")
    endif()
    set(CMAKE_CUDA_COMPILER ${root}/bin/nvcc CACHE FILEPATH "from PyPI" FORCE)
    set(CUDAToolkit_ROOT ${root} CACHE PATH "from PyPI" FORCE)
endfunction()

/// Differences between FAISS versions.
#pragma once

#include <faiss/Index.h>

#define FAISS_FLASH_FAISS_AT_LEAST(major, minor, patch)                               \
    (FAISS_VERSION_MAJOR * 10000 + FAISS_VERSION_MINOR * 100 + FAISS_VERSION_PATCH >= \
     (major)*10000 + (minor)*100 + (patch))

/// The CPU backend: always built, and the reference the other backends are compared with.
#pragma once

#include <faiss_flash/core/backend.h>

namespace faiss_flash::cpu {

const Backend& backend();

} // namespace faiss_flash::cpu

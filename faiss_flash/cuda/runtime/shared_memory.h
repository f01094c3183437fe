/// The limit of a kernel's dynamic shared memory.
#pragma once

namespace faiss_flash::cuda {

/// Lets launches of a kernel on the current device ask for as much dynamic shared memory as a block
/// can have. The limit is the whole process's: set once, to the most, it suits every thread and
/// every size.
void allow_all_shared_memory(const void* kernel);

} // namespace faiss_flash::cuda

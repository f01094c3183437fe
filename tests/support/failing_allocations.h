/// Allocations that fail when a test wants them to: of the host's memory by the program's operator
/// new, of the device's and of page-locked memory by what the linker puts before CUDA's functions
/// (--wrap). Link failing_allocations.cpp.
#pragma once

#include <cstdint>

namespace faiss_flash::test {

enum class Allocated : uint8_t { host, device, pinned };

/// From now on the nth allocation of this kind fails, counted from 1, and with all_later those
/// after it. One kind at a time.
void fail_allocation(Allocated kind, int64_t nth, bool all_later);
/// None fails any more. True if one has.
bool stop_failing();

/// Bytes of page-locked memory that the program holds now.
int64_t pinned_bytes();

/// Lets only those host allocations fail that `counts` says; null: all.
void choose_host_allocations(bool (*counts)());

} // namespace faiss_flash::test

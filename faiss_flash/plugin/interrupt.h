/// FAISS's way to stop long work.
#pragma once

#include <functional>

namespace faiss_flash {

/// What a call of the engine made here has to poll: throws faiss::FaissException once
/// faiss::InterruptCallback wants work to stop. Null in an OpenMP region, FAISS's search as a rule:
/// an exception must not leave one, and FAISS asks by itself.
std::function<void()> interrupt_poll();

} // namespace faiss_flash

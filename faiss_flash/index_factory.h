/// FAISS's factory of indexes, accelerated.
#pragma once

#include <faiss/Index.h>

#include <memory>
#include <string>

namespace faiss_flash {

/// faiss::index_factory() with accelerate() (train.h) of what it makes. Parameters that are set
/// afterwards, nlist and cp too, count; clones and files of it are FAISS's own, and train.
/// Throws faiss::FaissException for a description that FAISS does not know.
std::unique_ptr<faiss::Index> index_factory(
        int d,
        const char* description,
        faiss::MetricType metric = faiss::METRIC_L2,
        const std::string& device = "auto");

} // namespace faiss_flash

/// A shard whose rows are in the host's memory.
#pragma once

#include <faiss_flash/core/shard.h>

#include <memory>
#include <vector>

namespace faiss_flash::cpu {

std::unique_ptr<Shard> open_shard(const std::vector<Problem>& problems, const Workload& workload);

} // namespace faiss_flash::cpu

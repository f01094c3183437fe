/// An index as bytes, to see whether anything of it has changed.
#pragma once

#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::test {

inline std::vector<uint8_t> written(const faiss::Index& index) {
    faiss::VectorIOWriter writer;
    faiss::write_index(&index, &writer);
    return writer.data;
}

} // namespace faiss_flash::test

/// An index as bytes, to see whether anything of it has changed, and as FAISS reads these.
#pragma once

#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace faiss_flash::test {

inline std::vector<uint8_t> written(const faiss::Index& index) {
    faiss::VectorIOWriter writer;
    faiss::write_index(&index, &writer);
    return writer.data;
}

inline std::unique_ptr<faiss::Index> written_and_read(const faiss::Index& index) {
    faiss::VectorIOReader reader;
    reader.data = written(index);
    return std::unique_ptr<faiss::Index>(faiss::read_index(&reader));
}

} // namespace faiss_flash::test

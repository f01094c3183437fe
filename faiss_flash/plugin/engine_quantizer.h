/// An IVF whose coarse assignments go through the engine for a while.
#pragma once

#include <faiss/IndexIVF.h>

#include <memory>
#include <string>

namespace faiss_flash {

/// A flat index on the engine with the vectors of `flat`; null where that is not flat.
std::unique_ptr<faiss::Index> engine_copy(const faiss::Index& flat, const std::string& device);

/// While one lives, a flat quantizer is replaced by a copy of it on the engine: FAISS's own code
/// for training encoders and filling lists assigns by it.
class EngineQuantizer {
   public:
    EngineQuantizer(faiss::IndexIVF& ivf, const std::string& device)
        : ivf_(ivf), own_(ivf.quantizer), copy_(engine_copy(*own_, device)) {
        if (copy_) {
            ivf_.quantizer = copy_.get();
        }
    }
    ~EngineQuantizer() { ivf_.quantizer = own_; }
    EngineQuantizer(const EngineQuantizer&) = delete;
    EngineQuantizer& operator=(const EngineQuantizer&) = delete;

   private:
    faiss::IndexIVF& ivf_;
    faiss::Index* const own_;
    const std::unique_ptr<faiss::Index> copy_;
};

} // namespace faiss_flash

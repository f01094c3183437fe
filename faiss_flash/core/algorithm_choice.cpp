#include <faiss_flash/kmeans.h>

#include <algorithm>
#include <cstdlib>

namespace faiss_flash {

Algorithm algorithm_named(const std::string& name) {
    const char* variable = std::getenv("FAISS_FLASH_ALGORITHM");
    const bool by_variable = name == "default" && variable && *variable;
    const std::string wanted = by_variable ? variable : name;
    if (wanted == "default" || wanted == "lloyd") {
        return Algorithm::lloyd;
    }
    if (wanted == "e_means") {
        return Algorithm::e_means;
    }
    throw InvalidArgument(
            (by_variable ? "FAISS_FLASH_ALGORITHM=" : "algorithm=") + wanted +
            " is not one of default, lloyd, e_means");
}

int epochs_for(int niter) {
    constexpr int kMost = 3;
    return std::min(niter, kMost);
}

} // namespace faiss_flash

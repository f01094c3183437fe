// The engine alone: the public header needs the C++ library only.
#include <faiss_flash/kmeans.h>

#include <cstdio>
#include <vector>

int main() {
    std::vector<float> x;
    for (int i = 0; i < 1000; i++) {
        x.push_back(static_cast<float>(i % 4) * 10 + static_cast<float>(i) * 1e-4f);
    }
    faiss_flash::KMeansInput input;
    input.points = faiss_flash::VectorView::of(x.data(), 1000, 1);
    const auto result = faiss_flash::kmeans(input, 4);
    std::printf("objective %g\n", result.iterations.back().objective);
    return result.iterations.back().objective < 1 ? 0 : 1;
}

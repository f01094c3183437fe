#include <faiss_flash/core/moving_averages.h>

#include <faiss_flash/core/arguments.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace faiss_flash {

namespace {

/// The nearest, as a ratio.
int64_t rounded_to_power_of_two(double value) {
    double low = 1;
    while (2 * low <= value) {
        low *= 2;
    }
    return static_cast<int64_t>(value <= 1 || value / low < 2 * low / value ? low : 2 * low);
}

constexpr double kLeastStep = 0.1; // of alpha0, at the end

} // namespace

EmeansRecipe e_means_recipe(int64_t n, int64_t k, const KMeansOptions& options) {
    for (const auto& [name, value] : {std::pair{"n", n}, std::pair{"k", k}}) {
        if (value <= 0) {
            throw InvalidArgument(
                    std::string(name) + "=" + std::to_string(value) + " must be positive");
        }
    }
    check_algorithm(options);
    if (options.batch_size > 0) {
        return {std::min(options.batch_size, n), options.alpha0};
    }
    const auto points = static_cast<double>(n);
    const auto clusters = static_cast<double>(k);
    const double epochs = std::max(1, options.niter);
    const bool quality = options.operating_point == OperatingPoint::quality;
    const int64_t fitted = rounded_to_power_of_two(
            (quality ? 0.00439175 : 0.035134) * std::pow(clusters, 0.134749) *
            std::pow(points, 0.876473) * std::pow(epochs, 0.813344));
    const int64_t half = quality ? n / 2 : rounded_to_power_of_two(points / 2);
    EmeansRecipe recipe;
    recipe.batch_size = std::clamp<int64_t>(std::min(fitted, half), 1, n);
    const double alpha0 = 0.8244 * std::pow(clusters, -0.4617) *
                          std::pow(static_cast<double>(recipe.batch_size), 0.9003) *
                          std::pow(points, -0.4498) * std::pow(epochs, -0.1057);
    recipe.alpha0 = std::clamp(alpha0, 1e-4, 1.0);
    return recipe;
}

EmeansSchedule::EmeansSchedule(int64_t n, int64_t k, const KMeansOptions& options)
    : n_(n),
      epochs_(options.niter),
      recipe_(e_means_recipe(n, k, options)),
      batches_((n + recipe_.batch_size - 1) / recipe_.batch_size) {}

EmeansBatch EmeansSchedule::batch(uint64_t seed, int64_t epoch, int64_t i) const {
    const int64_t size = recipe_.batch_size;
    const int64_t step = epoch * batches_ + i;
    const double done = static_cast<double>(step) / static_cast<double>(epochs_ * batches_);
    const double cosine = (1 + std::cos(std::acos(-1.0) * done)) / 2;
    const double alpha = recipe_.alpha0 * (kLeastStep + (1 - kLeastStep) * cosine);
    const uint64_t own = random_number(seed, static_cast<uint64_t>(epoch));
    const int64_t place = RowOrder::shuffled(n_ / size, own).row(i); // a shorter one stays last
    EmeansBatch batch{};
    batch.first = place * size;
    batch.count = std::min(size, n_ - batch.first);
    batch.alpha = static_cast<float>(alpha);
    batch.seed = random_number(own, static_cast<uint64_t>(i));
    batch.revives = (step + 1) % kReviveEvery == 0;
    batch.begins = i == 0;
    batch.closes = epoch + 1 == epochs_;
    return batch;
}

double usage_scale(const ColumnRange& facts, int64_t batch, int64_t k) {
    // A sum of averages stays below the largest of what is averaged, and where all began.
    const double first = static_cast<double>(k) * kFirstUsage;
    const double most = std::max(first, facts.largest.back() * static_cast<double>(batch));
    return std::ldexp(1.0, 50 - std::ilogb(most));
}

std::vector<Split> choose_donors(const std::vector<int64_t>& units, uint64_t seed) {
    const auto k = static_cast<int64_t>(units.size());
    const int64_t all = std::accumulate(units.begin(), units.end(), int64_t{0});
    const int64_t least = all / (kReviveBelow * k);
    std::vector<int64_t> revived;
    std::vector<int64_t> ends(units.size()); // of a donor's numbers
    int64_t total = 0;
    int64_t donors = 0;
    for (size_t i = 0; i < units.size(); i++) {
        const bool revives = units[i] < least;
        if (revives) {
            revived.push_back(static_cast<int64_t>(i));
        }
        total += revives ? 0 : units[i];
        donors += !revives && units[i] > 0 ? 1 : 0;
        ends[i] = total;
    }
    const auto wanted = std::min(donors, static_cast<int64_t>(revived.size()));
    const int64_t draws = most_donor_draws(static_cast<int64_t>(revived.size()));
    std::vector<Split> splits;
    std::vector<bool> drawn(units.size());
    for (int64_t i = 0; i < draws && static_cast<int64_t>(splits.size()) < wanted; i++) {
        const int64_t draw = donor_draw(seed, i, total);
        const auto donor = std::upper_bound(ends.begin(), ends.end(), draw) - ends.begin();
        if (!drawn[static_cast<size_t>(donor)]) {
            drawn[static_cast<size_t>(donor)] = true;
            splits.push_back({revived[splits.size()], donor});
        }
    }
    return splits;
}

} // namespace faiss_flash

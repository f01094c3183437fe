/// What a score kernel leaves of the centroids, where float32 rounds as badly as it can.
#include <cpu/brute_force.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace faiss_flash::cpu {
namespace {

using test::Floats;

/// A row's candidates among few centroids, and their scores in long double.
struct Scored {
    Candidates list{};
    std::vector<long double> scores;
    std::vector<float> sure; // by measuring
    float length = 0;        // of x'
    long double longest = 0; // of the c'
};

/// The centroids' middle must be 0, so that x' and c' are theirs times a power of two.
Scored score(const Kernels& kernels, const GivenCentroids& centroids, const Floats& x) {
    std::vector<int32_t> ids(static_cast<size_t>(centroids.k));
    std::iota(ids.begin(), ids.end(), 0);
    const CentroidCell cell(centroids, ids, *kernels.scores, nullptr, kernels.codes);
    EXPECT_EQ(cell.middle(), Floats(x.size()));
    const int64_t rows = kernels.codes ? kernels.codes->rows : ScoreKernel::kRowMultiple;
    const auto columns = static_cast<int64_t>(x.size()) + 1;
    AlignedFloats points(rows * columns);
    std::vector<Candidates> lists(static_cast<size_t>(rows));
    std::fill_n(points.get(), rows * columns, 0.0f);
    for (Candidates& list : lists) {
        list.bar = HUGE_VALF;
        list.count = 0;
    }
    Candidates& list = lists.front();
    points.get()[0] = cell.center(x.data(), points.get() + 1);
    list.cell = &cell;
    list.row = x.data();
    list.common = cell.common_error(points.get()[0]);
    list.bar = -std::numeric_limits<float>::max();
    if (kernels.codes) {
        const int64_t stride = cell.coded().columns;
        std::vector<uint8_t> codes(static_cast<size_t>(rows * stride + CodeKernel::kMostLanes));
        AlignedFloats heads(3 * CodedRows::kMost);
        std::fill_n(heads.get(), 3 * CodedRows::kMost, 0.0f);
        float* lengths = heads.get() + CodedRows::kMost;
        float* residuals = lengths + CodedRows::kMost;
        AlignedFloats centred(columns + CodeKernel::kMostLanes);
        Coded coded{};
        *lengths = cell.encode(x.data(), centred.get(), codes.data(), coded);
        *heads.get() = coded.scale;
        *residuals = coded.residual;
        kernels.codes->score(
                {codes.data(), stride, heads.get(), lengths, residuals},
                rows,
                cell.coded(),
                lists.data());
    } else {
        AlignedFloats workspace(rows * kernels.scores->workspace);
        kernels.scores->score(points.get(), rows, cell.packed(), workspace.get(), lists.data());
    }
    prune(list);

    Scored scored{list, {}, {}, points.get()[0], 0};
    const long double scale = points.get()[1] / x[0];
    for (int64_t c = 0; c < centroids.k; c++) {
        long double product = 0;
        long double squares = 0;
        for (size_t j = 0; j < x.size(); j++) {
            const long double centroid = centroids.row(c)[j];
            product += x[j] * centroid;
            squares += centroid * centroid;
        }
        const bool l2 = centroids.metric == Metric::l2;
        scored.scores.push_back((product - (l2 ? squares / 2 : 0)) * scale * scale);
        scored.longest = std::max(scored.longest, std::sqrt(squares) * scale);
        const auto place = static_cast<int32_t>(c);
        Nearest nearest;
        cell.measure(x.data(), &place, 1, nearest);
        scored.sure.push_back(cell.sure_score(x.data(), scored.length, nearest));
    }
    return scored;
}

struct Bounds : EveryKernel {
    void expect_bounds(const Floats& x, const Floats& centroids) const {
        const auto d = static_cast<int64_t>(x.size());
        const GivenCentroids given{
                centroids.data(), static_cast<int64_t>(centroids.size()) / d, d, metric};
        const Scored scored = score(kernels, given, x);
        const auto& all = scored.scores;
        const auto best = std::max_element(all.begin(), all.end());
        EXPECT_LE(scored.list.bar, *best) << "the bar is above the best score";
        bool offered = false;
        for (int32_t i = 0; i < scored.list.count; i++) {
            const int32_t place = scored.list.places[i];
            EXPECT_GE(scored.list.bounds[i], all[static_cast<size_t>(place)]) << place;
            offered = offered || place == best - all.begin();
        }
        EXPECT_TRUE(offered) << "the best centroid is none of the candidates";
        for (size_t c = 0; c < all.size(); c++) {
            EXPECT_LE(scored.sure[c], all[c]);
            const long double length = scored.length;
            const long double rounding = (length * length + std::abs(all[c])) * 0x1p-21L +
                                         length * scored.longest * 0x1p-48L;
            EXPECT_GE(scored.sure[c], all[c] - static_cast<long double>(d + 20) * rounding);
        }
    }
};

/// After one large term all small ones are rounded away, to one side: all but the full error that d
/// terms can have, on scores as large as |x'| |c'|. (1 +- 2^-10) 2^-24 of the large term is just
/// below and just above half of its last bit.
TEST_P(Bounds, SumsThatRoundToOneSide) {
    for (const size_t d : {17, 64, 512, 3000, 9000}) {
        for (const float side : {1 - 0x1p-10f, 1 + 0x1p-10f}) {
            for (const float sign : {1.0f, -1.0f}) {
                SCOPED_TRACE("d=" + std::to_string(d) + " side " + std::to_string(side));
                Floats x(d, sign);
                Floats centroids(2 * d, side);
                x[0] = 0x1p12f;
                centroids[0] = 0x1p12f;
                for (size_t j = 0; j < d; j++) { // and its opposite: the middle is 0
                    centroids[d + j] = -centroids[j];
                }
                expect_bounds(x, centroids);
            }
        }
    }
}

/// Candidates of any length, and rows of any length.
TEST_P(Bounds, RandomSums) {
    std::mt19937 generator(1);
    for (unsigned seed = 0; seed < 200; seed++) {
        const int64_t d = 1 + static_cast<int64_t>(generator() % 200);
        Floats centroids;
        for (unsigned c = 0; c < 4; c++) {
            const float spread = std::ldexp(1.0f, static_cast<int>(generator() % 40) - 20);
            const Floats one = test::normal(1, d, seed * 10 + c, 0, spread);
            centroids.insert(centroids.end(), one.begin(), one.end());
            for (const float value : one) {
                centroids.push_back(-value);
            }
        }
        const float spread = std::ldexp(1.0f, static_cast<int>(generator() % 40) - 20);
        expect_bounds(test::normal(1, d, seed + 5000, 0, spread), centroids);
    }
}

/// All that codes leave of a row, or of a centroid, has one direction: that of the centroid, or of
/// the row. The error is all that Cauchy and Schwarz allow, to either side.
TEST_P(Bounds, CodesThatRoundToOneSide) {
    const float levels = kernels.codes ? static_cast<float>(kernels.codes->levels) : 127.0f;
    for (const size_t d : {17, 64, 512, 3000}) {
        for (const float off : {0.49f, -0.49f}) {
            for (const bool of_rows : {true, false}) {
                SCOPED_TRACE("d=" + std::to_string(d) + " off " + std::to_string(off));
                Floats rounded(d, 3 + off);
                rounded[0] = levels;
                const Floats whole(d, 1.0f);
                const Floats& x = of_rows ? rounded : whole;
                Floats centroids = of_rows ? whole : rounded;
                for (size_t j = 0; j < d; j++) { // and its opposite: the middle is 0
                    centroids.push_back(-centroids[j]);
                }
                expect_bounds(x, centroids);
            }
        }
    }
}

/// Sums of products at their largest.
TEST_P(Bounds, LongestSums) {
    const auto d = static_cast<size_t>(CodedCentroids::kMostColumns);
    for (const float sign : {1.0f, -1.0f}) {
        Floats centroids(2 * d, sign);
        std::fill_n(centroids.begin() + static_cast<int64_t>(d), d, -sign);
        expect_bounds(Floats(d, 1.0f), centroids);
    }
}

INSTANTIATE_TEST_SUITE_P(
        Kernels,
        Bounds,
        testing::Combine(
                testing::ValuesIn(all_score_kernels()),
                testing::Values(Metric::l2, Metric::inner_product)),
        EveryKernel::name);

/// The same as a whole: the first of two centroids is nearer by less than the sums' error.
struct Rounding : EveryKernel {};

TEST_P(Rounding, DoesNotChooseTheCentroid) {
    for (const size_t d : {2, 5, 8, 16, 17, 64, 512}) {
        SCOPED_TRACE("d=" + std::to_string(d));
        std::mt19937 generator(2);
        Floats centroids;
        for (int c = 0; c < 100; c++) { // products with x: 2^24 + about d
            centroids.push_back(0x1p12f + static_cast<float>(generator() % 8) * 0x1p-11f);
            for (size_t j = 1; j < d; j++) {
                centroids.push_back(1 + (generator() % 2 ? 1.0f : -1.0f) * 0x1p-10f);
            }
        }
        Floats x;
        for (size_t i = 0; i < 100 * d; i++) {
            x.push_back(i % d == 0 ? 0x1p12f + static_cast<float>(i / d % 7) * 0x1p-11f : 1.0f);
        }
        for (const float sign : {1.0f, -1.0f}) {
            Floats signed_x = x;
            for (float& value : signed_x) {
                value *= sign;
            }
            expect_float64(signed_x, centroids, static_cast<int64_t>(d));
        }
        Floats both = centroids; // the middle is near 0, not near all of them
        for (const float value : centroids) {
            both.push_back(-value);
        }
        std::rotate(both.begin(), both.begin() + static_cast<int64_t>(25 * d), both.end());
        expect_float64(x, both, static_cast<int64_t>(d));
    }
}

/// Products with long centroids are sums of 2^24, of small terms that are rounded on top of it, and
/// of -2^24: wrong by as much as they are. Those with short centroids are about as large, and
/// exact.
TEST_P(Rounding, DoesNotChooseBetweenLongAndShortCentroids) {
    for (const size_t d : {4, 8, 11, 16, 17, 64}) {
        SCOPED_TRACE("d=" + std::to_string(d));
        std::mt19937 generator(3);
        const auto sign = [&] { return generator() % 2 ? 1.0f : -1.0f; };
        Floats centroids;
        for (size_t c = 0; c < 64; c++) {
            const bool is_long = c % 8 < 3;
            const float large = is_long ? (c % 2 ? 0x1p12f : -0x1p12f) : 0;
            for (size_t j = 0; j < d; j++) {
                const float small = is_long ? sign() * (1 + sign() * 0x1p-10f) : 0;
                centroids.push_back(j == 0 ? large : j == d - 1 ? -large : small);
            }
            if (!is_long) {
                centroids[c * d] =
                        std::sqrt(static_cast<float>(d)) * static_cast<float>(c) * 0x1p-18f;
            }
        }
        Floats x;
        for (size_t i = 0; i < 500 * d; i++) {
            x.push_back(i % d == 0 || i % d == d - 1 ? 0x1p12f : sign());
        }
        expect_float64(x, centroids, static_cast<int64_t>(d));
    }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Rounding, EveryKernel::every(), EveryKernel::name);

} // namespace
} // namespace faiss_flash::cpu

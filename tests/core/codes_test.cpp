#include <faiss_flash/codes.h>

#include <gtest/gtest.h>
#include <support/data.h>
#include <support/oracle.h>

#include <cmath>
#include <limits>
#include <vector>

namespace faiss_flash {
namespace {

constexpr int64_t kParts = 5, kEntries = 61, kDsub = 3, kD = kParts * kDsub, kLists = 7;

struct Case {
    int64_t n;
    std::vector<float> rows = test::normal(n, kD, 1);
    std::vector<float> centroids = test::normal(kLists, kD, 2);
    std::vector<float> books = test::normal(kParts * kEntries, kDsub, 3);
    std::vector<int64_t> list_of_row = std::vector<int64_t>(static_cast<size_t>(n));

    explicit Case(int64_t count) : n(count) {
        for (int64_t i = 0; i < n; i++) {
            list_of_row[static_cast<size_t>(i)] = i % kLists;
        }
    }
    VectorView view() const { return VectorView::of(rows.data(), n, kD); }
    Lists lists() const { return {centroids.data(), kLists, list_of_row.data()}; }
    Codebooks codebooks() const { return {books.data(), kParts, kEntries, kDsub}; }
};

TEST(Encode, ResidualsGetTheirNearestEntries) {
    const Case data(66000); // more than a block
    constexpr int64_t kStride = kParts + 2;
    std::vector<uint8_t> codes(static_cast<size_t>(data.n * kStride), 255);
    encode(data.view(), data.lists(), data.codebooks(), codes.data(), kStride);
    for (int64_t i = 0; i < data.n; i += 97) {
        for (int64_t m = 0; m < kParts; m++) {
            float part[kDsub];
            for (int64_t t = 0; t < kDsub; t++) {
                const int64_t column = m * kDsub + t;
                part[t] = data.rows[static_cast<size_t>(i * kD + column)] -
                          data.centroids[static_cast<size_t>(i % kLists * kD + column)];
            }
            const float* book = data.books.data() + m * kEntries * kDsub;
            EXPECT_EQ(
                    codes[static_cast<size_t>(i * kStride + m)],
                    test::nearest(Metric::l2, part, book, kEntries, kDsub).id)
                    << i << " " << m;
        }
        EXPECT_EQ(codes[static_cast<size_t>(i * kStride + kParts)], 255) << "written past the code";
    }
}

TEST(Encode, WithoutListsRowsAreEncodedAsTheyAre) {
    const Case data(100);
    std::vector<uint8_t> codes(static_cast<size_t>(data.n * kParts));
    encode(data.view(), {}, data.codebooks(), codes.data(), kParts);
    for (int64_t i = 0; i < data.n; i++) {
        const auto best = test::nearest(
                Metric::l2, data.rows.data() + i * kD, data.books.data(), kEntries, kDsub);
        EXPECT_EQ(codes[static_cast<size_t>(i * kParts)], best.id);
    }
}

std::string message_of(const Case& data, Lists lists, Codebooks books, int64_t stride) {
    std::vector<uint8_t> codes(static_cast<size_t>(data.n * kParts));
    try {
        encode(data.view(), lists, books, codes.data(), stride);
    } catch (const InvalidArgument& error) {
        return error.what();
    }
    return "nothing thrown";
}

TEST(Encode, BadInputIsNamed) {
    Case data(10);
    const auto expect = [&](const std::string& part, Lists lists, Codebooks books, int64_t stride) {
        const std::string message = message_of(data, lists, books, stride);
        EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    const Codebooks books = data.codebooks();
    expect("stride=4", data.lists(), books, kParts - 1);
    expect("ksub=257", data.lists(), {books.data, kParts, 257, kDsub}, kParts);
    expect("rows.d=15", data.lists(), {books.data, kParts, kEntries, 4}, kParts);
    expect("subspaces=0", data.lists(), {books.data, 0, kEntries, kDsub}, kParts);
    test::Floats with_nan(books.data, books.data + kParts * kEntries * kDsub);
    with_nan[(2 * kEntries + 3) * kDsub + 1] = NAN;
    expect("codebooks[" + std::to_string(2 * kEntries + 3) + "][1]",
           data.lists(),
           {with_nan.data(), kParts, kEntries, kDsub},
           kParts);
    EXPECT_THROW(encode(data.view(), {}, books, nullptr, kParts), InvalidArgument);
    data.list_of_row[4] = kLists;
    expect("of_row[4]=7", data.lists(), books, kParts);
    data.rows[7 * kD + 2] = std::numeric_limits<float>::quiet_NaN();
    expect("rows[7]", {}, books, kParts);
}

/// Behind the first block, so that codes were found before.
TEST(Encode, NothingIsWrittenBeforeAnException) {
    Case data(66000);
    std::vector<uint8_t> codes(static_cast<size_t>(data.n * kParts), 255);
    const std::vector<uint8_t> untouched = codes;
    const auto expect = [&](const std::string& text) {
        try {
            encode(data.view(), data.lists(), data.codebooks(), codes.data(), kParts);
            ADD_FAILURE() << "accepted";
        } catch (const InvalidArgument& error) {
            EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
        }
        EXPECT_EQ(codes, untouched);
    };
    data.rows[65900 * kD + 7] = INFINITY;
    expect("rows[65900][7] is not finite");
    // Both finite, but not their difference.
    data.rows[65900 * kD + 7] = 3e38f;
    data.centroids[static_cast<size_t>(65900 % kLists * kD + 7)] = -3e38f;
    expect("rows[65900][7] less its list's centroid is not finite");
}

TEST(ResidualTable, HoldsNormsAndProducts) {
    const Case data(1);
    std::vector<float> table(static_cast<size_t>(kLists * kParts * kEntries));
    residual_table(data.centroids.data(), kLists, data.codebooks(), table.data());
    for (int64_t list = 0; list < kLists; list++) {
        for (int64_t entry = 0; entry < kParts * kEntries; entry++) {
            double expected = 0, size = 0;
            for (int64_t t = 0; t < kDsub; t++) {
                const double y = data.books[static_cast<size_t>(entry * kDsub + t)];
                const int64_t column = entry / kEntries * kDsub + t;
                const double c = data.centroids[static_cast<size_t>(list * kD + column)];
                expected += y * y + 2 * c * y;
                size += y * y + std::abs(2 * c * y);
            }
            EXPECT_NEAR(
                    table[static_cast<size_t>(list * kParts * kEntries + entry)],
                    expected,
                    1e-6 * size);
        }
    }
}

} // namespace
} // namespace faiss_flash

#include <faiss_flash/core/lloyd_state.h>

#include <faiss_flash/core/hash.h>

#include <algorithm>
#include <istream>
#include <ostream>
#include <string>
#include <type_traits>

namespace faiss_flash {

namespace {

constexpr uint64_t kVersion = 2;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie here");
static_assert(
        std::is_trivially_copyable_v<IterationStats> && sizeof(IterationStats) == 8 * 8,
        "statistics are written as they lie here: others need another kVersion");

class Writer {
   public:
    explicit Writer(std::ostream& out) : out_(out) {}

    template <class T>
    void number(T value) {
        static_assert(std::is_arithmetic_v<T> && sizeof value == 8);
        bytes(&value, sizeof value);
    }
    template <class Sequence>
    void sequence(const Sequence& values) {
        number(uint64_t{values.size()});
        bytes(values.data(), values.size() * sizeof(typename Sequence::value_type));
    }
    void checksum() { number(hash_.value()); }

   private:
    void bytes(const void* data, size_t count) {
        hash_.add(data, count);
        out_.write(static_cast<const char*>(data), static_cast<std::streamsize>(count));
    }

    std::ostream& out_;
    Hash hash_;
};

class Reader {
   public:
    explicit Reader(std::istream& in) : in_(in) {}

    template <class T>
    void number(T& value) {
        static_assert(std::is_arithmetic_v<T> && sizeof value == 8);
        bytes(&value, sizeof value);
    }
    /// Sizes may be damaged: memory is taken for what is there, a piece at a time.
    template <class Sequence>
    void sequence(Sequence& values) {
        uint64_t left = 0;
        number(left);
        values.clear();
        while (left > 0) {
            constexpr uint64_t kPiece = uint64_t{1} << 16; // values, a multiple of 8
            const auto now = static_cast<size_t>(std::min(left, kPiece));
            const size_t before = values.size();
            values.resize(before + now);
            bytes(&values[before], now * sizeof(typename Sequence::value_type));
            left -= now;
        }
    }
    void checksum() {
        const uint64_t expected = hash_.value();
        uint64_t found = 0;
        number(found);
        if (found != expected) {
            throw Error("damaged: its checksum does not fit");
        }
    }

   private:
    void bytes(void* data, size_t count) {
        in_.read(static_cast<char*>(data), static_cast<std::streamsize>(count));
        if (in_.gcount() != static_cast<std::streamsize>(count)) {
            throw Error(in_.bad() ? "not readable" : "cut short");
        }
        hash_.add(data, count);
    }

    std::istream& in_;
    Hash hash_;
};

/// The list of what is written, in its order: `archive` is a Writer or a Reader.
template <class Archive, class State>
void pass(Archive& archive, State& state) {
    archive.sequence(state.fingerprint.options);
    archive.number(state.fingerprint.points);
    archive.number(state.fingerprint.facts);
    archive.number(state.fingerprint.weights);
    archive.number(state.fingerprint.initial_centroids);
    archive.number(state.seed);
    archive.number(state.redo);
    archive.number(state.iterations);
    archive.number(state.best_iterations);
    archive.number(state.best_objective);
    archive.sequence(state.centroids);
    archive.sequence(state.averages);
    archive.sequence(state.best_centroids);
    archive.sequence(state.stats);
}

} // namespace

void write_state(const LloydState& state, std::ostream& out) {
    Writer writer(out);
    writer.number(kStateMagic);
    writer.number(kVersion);
    writer.number(uint64_t{state.over});
    pass(writer, state);
    writer.checksum();
}

LloydState read_state(std::istream& in) {
    Reader reader(in);
    uint64_t magic = 0;
    uint64_t version = 0;
    uint64_t over = 0;
    reader.number(magic);
    if (magic != kStateMagic) {
        throw Error("not a checkpoint of faiss_flash");
    }
    reader.number(version);
    if (version != kVersion) {
        throw Error("of version " + std::to_string(version) + ", not " + std::to_string(kVersion));
    }
    reader.number(over);
    LloydState state;
    state.over = over != 0;
    pass(reader, state);
    reader.checksum();
    return state;
}

} // namespace faiss_flash

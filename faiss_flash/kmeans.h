/// The k-means engine: exact Lloyd iterations, or batches with moving averages (e-means), over
/// vectors of any supported type.
///
/// Includes the C++ library only and compiles as C++17. Nothing here knows FAISS, CUDA or Python.
/// Methods: Lloyd (1982), with FAISS's rules for seeding, sampling, empty clusters and restarts;
/// e-means as FAISS's contrib/e_means.py (2026) has it.
/// Every function throws InvalidArgument for bad input, naming the argument and its value, before
/// any output is written; rows, dims and counts are int64_t, strides are in bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__GNUC__)
#define FAISS_FLASH_API __attribute__((visibility("default")))
#else
#define FAISS_FLASH_API
#endif

namespace faiss_flash {

/// Base of every exception the engine throws itself.
class FAISS_FLASH_API Error : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
    ~Error() override;
};

/// An argument was rejected; what() names it and its value.
class FAISS_FLASH_API InvalidArgument : public Error {
   public:
    using Error::Error;
    ~InvalidArgument() override;
};

/// A GPU's memory did not suffice, and the CPU could not take over; what() names the bytes that
/// were wanted and those that were free.
class FAISS_FLASH_API OutOfDeviceMemory : public Error {
   public:
    using Error::Error;
    ~OutOfDeviceMemory() override;
};

/// Type of one coordinate. f16 is IEEE binary16, bf16 the upper half of a binary32.
enum class DType : uint8_t { f32, f16, bf16, u8, i8 };

/// Where the rows live. pinned and mapped memory is addressable by the host.
enum class MemorySpace : uint8_t { host, device, pinned, mapped };

/// l2 minimises the squared distance, inner_product maximises the dot product.
enum class Metric : uint8_t { l2, inner_product };

/// exact: every point's centroid is the float64 argmin or argmax; results are the same bits on
/// every backend. fast: centroids are rounded to the points' own 16-bit type before they are
/// compared, and nothing is checked; the same bits from run to run on one device. It is for f16,
/// bf16, u8 and i8 points without weights on a GPU, and the same as exact elsewhere: also for bf16
/// points whose largest coordinate is beyond 2^48 or below 2^-50. Initial centroids beyond f16's
/// range (bf16: 2^52) count as at its end.
enum class Precision : uint8_t { exact, fast };

/// How the centroids are found. lloyd: an iteration assigns all points, and centroids become the
/// means of theirs. e_means: an iteration (an epoch) takes the points batch by batch in a random
/// order, and after each the centroids become moving averages of what was assigned to them: two or
/// three epochs come to the objective of 25 of Lloyd's iterations (README.md). After the last one,
/// clusters become the plain means of its points. Assignments are exact in both, and results the
/// same bits on every backend. e_means keeps a copy of points on a device.
enum class Algorithm : uint8_t { lloyd, e_means };

/// How large e_means' batches are. quality: an eighth of throughput's, as a rule; objectives are
/// 0.3 to 0.8 % lower after as many epochs, which take longer on a GPU.
enum class OperatingPoint : uint8_t { throughput, quality };

/// Turns encoded rows into float32; lets a caller train on compressed vectors without a copy.
class FAISS_FLASH_API RowDecoder {
   public:
    virtual ~RowDecoder();
    /// Decodes n rows of VectorView::row_stride bytes each at `codes` into `out` [n x d].
    /// Called from several threads at once.
    virtual void decode(int64_t n, const uint8_t* codes, float* out) const = 0;
};

/// Rows of vectors that the caller owns. Nothing is copied or kept after a call returns.
struct VectorView {
    const void* data = nullptr;            ///< first row; alignment of the dtype is enough
    int64_t n = 0;                         ///< rows
    int64_t d = 0;                         ///< coordinates a row
    DType dtype = DType::f32;              ///< ignored when decoder is set
    MemorySpace space = MemorySpace::host; ///< where data points to
    /// Of space device: the CUDA stream (a cudaStream_t; the legacy default stream is
    /// cudaStreamLegacy) whose work makes the rows: what was queued there before the call is waited
    /// for, by the device alone. nullptr: not known, all work of the device is waited for.
    void* stream = nullptr;
    int64_t row_stride = 0;              ///< bytes from row to row; 0 = packed rows
    const RowDecoder* decoder = nullptr; ///< set: rows are codes of row_stride bytes

    static VectorView of(const float* data, int64_t n, int64_t d) {
        VectorView view;
        view.data = data;
        view.n = n;
        view.d = d;
        return view;
    }
};

/// What one Lloyd iteration did. Fields have FAISS's meaning (ClusteringIterationStats).
struct IterationStats {
    double objective = 0;   ///< sum over points of the distance (l2) or product, unweighted: the
                            ///< exact one to a bit or two, the same bits on every backend. Of
                            ///< e_means: to the centroids at the time of a point's batch
    double time = 0;        ///< seconds since the first restart began
    double time_search = 0; ///< seconds of these spent assigning points
    double time_update = 0; ///< seconds of these spent on sums and new centroids
    double imbalance_factor = 1; ///< k * sum(size^2) / n^2; 1 = all clusters equally large
    int64_t nsplit = 0;          ///< empty clusters that were given half of a large one
    int64_t redone = 0;          ///< points whose scores in 16 bits were too close (GPU, exact)
    int64_t decided = 0;         ///< points whose nearest centroid was decided in float64
};

struct KMeansOptions {
    Metric metric = Metric::l2;
    Precision precision = Precision::exact;
    Algorithm algorithm = Algorithm::lloyd;
    OperatingPoint operating_point = OperatingPoint::throughput; ///< e_means
    /// e_means: points a batch, and how much of the averages its first is; they fall to a tenth of
    /// it by a cosine. Both, or none (0): as operating_point, the shape and niter say.
    int64_t batch_size = 0;
    double alpha0 = 0; ///< in (0, 1]
    /// "auto": what is expected to be through first, a GPU or the CPU (points on a device stay
    /// there; Precision::fast takes the first GPU), or what the environment variable
    /// FAISS_FLASH_DEVICE says; "cpu", "cuda" (the first GPU), "cuda:0", "cuda:1", ...
    std::string device = "auto";
    /// Bytes of a GPU's memory that a call may take at a time, beside the caller's own; what does
    /// not fit runs on the CPU, as where the GPU's memory does not suffice. 0: what is free.
    int64_t memory_limit = 0;
    int niter = 25;             ///< iterations a restart; 0: the initial centroids, no statistics
    int nredo = 1;              ///< restarts, > 0; the one with the best last objective wins
    bool spherical = false;     ///< centroids are scaled to length 1 after every update
    bool int_centroids = false; ///< coordinates are rounded, halves away from zero
    bool frozen_centroids = false;         ///< the initial centroids given are not updated
    int64_t min_points_per_centroid = 39;  ///< fewer give a warning on stderr
    int64_t max_points_per_centroid = 256; ///< more are sampled; negative = use all; not 0
    int64_t seed = 1234; ///< of sampling and initial centroids; negative = the clock
    bool use_faster_subsampling = false; ///< sample with replacement, by splitmix64
    /// Stop a restart when |previous - objective| / |previous| <= this; nullopt = never. e_means
    /// runs all its epochs: its steps grow smaller towards the last.
    std::optional<double> early_stop_threshold = 0.0;
    bool verbose = false; ///< progress on stdout, in FAISS's wording
    /// Fill KMeansResult::assignment and ::distances. Points that a GPU has trained on are not
    /// brought to it again for that, unless they are a sample or its memory does not suffice.
    bool return_assignment = false;
    /// kmeans() alone: path of a file for the state of the run, written after every hundredth of
    /// the run or every minute, and at the end; empty: none. At every moment it holds a complete
    /// state, the one before or the newest, also where the process is killed or an exception ends
    /// the run: a new one is written to path + ".part" first. The run waits for the last one; the
    /// others cost it less than a hundredth of its time. Throws Error naming it, before the first
    /// iteration, where it cannot be written, is not empty and no checkpoint, or is another run's
    /// that is not over; errors after that are told on stderr and cost no result. With n == k
    /// nothing runs, and nothing is written.
    std::string checkpoint;
    /// Go on from `checkpoint`, where there is such a file, to the same bits as without a break; a
    /// run that had ended gives its result at once, one whose last restart `callback` ended goes
    /// on. Throws InvalidArgument naming the difference where it is of other points (1024 rows and
    /// the range of every column are compared), weights, initial centroids or options, Error where
    /// it is damaged. false: the file is replaced.
    bool resume = false;
    /// Called after every iteration with its statistics and the seconds that the iterations to come
    /// will take; false ends the restart, with the centroids of that iteration. nullptr = not
    /// called.
    std::function<bool(const IterationStats& stats, double seconds_left)> callback;
    /// Called on the calling thread about every 50 ms, while it waits and uploads too; an exception
    /// it throws ends the run and reaches the caller. nullptr = not called.
    std::function<void()> poll;
};

/// Points of one clustering problem, and what the caller already knows about it.
struct KMeansInput {
    VectorView points;            ///< [n x d], n >= k
    VectorView weights;           ///< [n x 1] f32, >= 0, not all 0; data == nullptr: all 1
    VectorView initial_centroids; ///< [m x d] f32, the first min(m, k) centroids; optional
};

struct KMeansResult {
    int64_t k = 0;
    int64_t d = 0;
    std::vector<float> centroids;           ///< [k x d]
    std::vector<IterationStats> iterations; ///< of every restart up to and including the best
    /// For every input point (sampled or not) its nearest final centroid; when asked for.
    std::vector<int64_t> assignment;
    std::vector<float> distances; ///< l2: squared distance to it; else the product
};

/// Clusters the points of one problem into k clusters.
/// Same input and options give bitwise the same result, whatever the number of threads.
FAISS_FLASH_API KMeansResult
kmeans(const KMeansInput& input, int64_t k, const KMeansOptions& options = {});

/// FAISS's classes have an algorithm by its name: "lloyd", "e_means", or "default", which is what
/// the environment variable FAISS_FLASH_ALGORITHM says, else lloyd. Throws InvalidArgument naming
/// others.
FAISS_FLASH_API Algorithm algorithm_named(const std::string& name);

/// Epochs of e_means in place of niter of Lloyd's iterations, which FAISS's parameters ask for: 3
/// at most, which come to the objective of 25 of these.
FAISS_FLASH_API int epochs_for(int niter);

/// What e_means of n points takes.
struct EmeansRecipe {
    int64_t batch_size = 0; ///< points of a batch, <= n
    double alpha0 = 0;      ///< share of the averages that the first batch is
};

/// The batches of kmeans() of n points in k clusters with the options' niter: its own, or the laws
/// fitted for FAISS's contrib/e_means.py.
FAISS_FLASH_API EmeansRecipe
e_means_recipe(int64_t n, int64_t k, const KMeansOptions& options = {});

/// Clusters each problem on its own; same results as a loop over kmeans(). Each may have its own n
/// and d; those that share both run together where that is faster (a GPU, Precision::fast), as many
/// at a time as there is room for.
FAISS_FLASH_API std::vector<KMeansResult> batch_kmeans(
        const std::vector<KMeansInput>& problems, int64_t k, const KMeansOptions& options = {});

/// What a run is expected to take.
struct Estimate {
    std::string device;     ///< where it would run
    int64_t host_bytes = 0; ///< of the host's memory, beside the points and the result
    /// Of a GPU's memory, with its copy of the points; 0 on the CPU. What return_assignment takes
    /// beside it where there is room, and does without where there is none, does not count.
    int64_t device_bytes = 0;
    double seconds = 0; ///< with all of niter iterations in each of nredo restarts
};

/// What kmeans() of n host points of d coordinates, or batch_kmeans() of `batch` such problems,
/// would take; nothing runs but, on the CPU, a thousandth of a second of work that shows its speed.
/// Seconds are within a factor of two as a rule.
FAISS_FLASH_API Estimate estimate(
        int64_t n,
        int64_t d,
        int64_t k,
        const KMeansOptions& options = {},
        DType dtype = DType::f32,
        int64_t batch = 1);

/// For each of the n points its best centroid: the float64 argmin of the squared distance (l2) or
/// argmax of the product, ties to the lowest id.
/// ids [n] and distances [n] are written; distances (may be null) are float64 values rounded once.
/// `device` as in KMeansOptions; `poll` is called on the calling thread about every 50 ms, and what
/// it throws ends the call, with nothing written.
FAISS_FLASH_API void assign(
        const VectorView& points,
        const VectorView& centroids,
        Metric metric,
        int64_t* ids,
        float* distances,
        const std::string& device = "auto",
        const std::function<void()>& poll = nullptr);

/// Throws InvalidArgument naming the first NaN or Inf of rows, as name[row][column].
FAISS_FLASH_API void check_finite(const VectorView& rows, const std::string& name);

/// Threads of the CPU that calls of this thread may use: OpenMP's number for it. One in a process
/// that was forked off one with threads, whatever is set: OpenMP's are not in the child.
FAISS_FLASH_API int num_threads();

/// Does what omp_set_num_threads() does, for programs whose OpenMP is not this library's (a Python
/// wheel brings its own). threads: 1 to 4096.
FAISS_FLASH_API void set_num_threads(int threads);

/// The names of the backends of this build that can run on this machine, best first.
FAISS_FLASH_API std::vector<std::string> available_backends();

} // namespace faiss_flash

/// What training changes in an index, to be put back when it fails.
#pragma once

#include <faiss/Index.h>
#include <faiss_flash/plugin/undo.h>

namespace faiss_flash {

/// Undo gives the index and all of its parts the state of training that they have now: flags,
/// transforms, coarse quantizers with their vectors, codebooks and tables. Of classes that know no
/// more than a mean (RaBitQ, EDEN), only the flag.
void keep_trained_state(Undo& undo, faiss::Index& index);

/// Undo gives the index the vectors that it has now; but for one that cannot tell them.
void keep_vectors(Undo& undo, faiss::Index& index);

} // namespace faiss_flash

/// What an add changes in an IVF, to be put back when it fails.
#pragma once

#include <faiss/IndexIVF.h>
#include <faiss_flash/plugin/undo.h>

#include <cstdint>

namespace faiss_flash {

/// Undo gives the IVF the number of rows, the direct map and the codes outside of lists that it has
/// now. Not the duplicates that an IndexIVFFlatDedup knows: it has no way to take one out.
void keep_counts(Undo& undo, faiss::IndexIVF& ivf);

/// Undo takes out of these lists what is appended to them from now on.
/// @param lists  [n] of the rows that are about to be added, -1 for none; may repeat
void keep_lists(Undo& undo, faiss::IndexIVF& ivf, int64_t n, const int64_t* lists);

} // namespace faiss_flash

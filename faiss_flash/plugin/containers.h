/// FAISS's own classes, told from those that others derive from them.
#pragma once

#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/MetaIndexes.h>
#include <faiss_flash/plugin/faiss_version.h>

#include <typeinfo>

namespace faiss_flash {

/// The object as a Class where it is a Class, or one of Others, which derive from it, itself; else
/// null. A class of a user's own may do anything in its functions: these must not be gone round.
template <class Class, class... Others, class Base>
Class* exactly(Base& object) {
    const std::type_info& type = typeid(object);
    const bool known = type == typeid(Class) || (... || (type == typeid(Others)));
    return known ? dynamic_cast<Class*>(&object) : nullptr;
}

/// The indexes around others whose functions are known to do for these what their names say.
inline faiss::IndexPreTransform* as_transforming(faiss::Index& index) {
    return exactly<faiss::IndexPreTransform>(index);
}

inline faiss::IndexIDMap* as_mapping(faiss::Index& index) {
    return exactly<faiss::IndexIDMap, faiss::IndexIDMap2>(index);
}

inline faiss::IndexRefine* as_refining(faiss::Index& index) {
#if FAISS_FLASH_FAISS_AT_LEAST(1, 13, 2)
    return exactly<faiss::IndexRefine, faiss::IndexRefineFlat, faiss::IndexRefinePanorama>(index);
#else
    return exactly<faiss::IndexRefine, faiss::IndexRefineFlat>(index);
#endif
}

} // namespace faiss_flash

// Alias analysis: which values of a phase share bytes, and over which ops each piece of storage is live.
//
// A result may take over the buffer of an operand when the op allows it (op table) and the operand dies there.
// Persistent values are not part of this: they have one place for the whole run.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

struct Storage {
  ValueId first_value = kNoValue;  // names the storage
  int64_t bytes = 0;
  int32_t first = 0, last = 0;  // ops, inclusive
  int64_t alignment = 64;       // bytes; kDiskAlignment for what goes straight to or from disk, whole such pieces
};

inline constexpr int64_t kDiskAlignment = 4096;  // of direct reads: file offset, address and size

struct StorageMap {
  std::vector<Storage> storages;
  std::vector<int32_t> storage_of;  // by ValueId; -1: persistent, or no bytes
};

StorageMap assign_storage(const Graph& graph);

}  // namespace plimsoll

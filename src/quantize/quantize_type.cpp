#include "quantize/quantize_type.h"

#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "base/text.h"

namespace plimsoll {
namespace {

using Kind = PackedFormat::Kind;

struct FolderType {
  std::string_view name;
  Kind kind;
  int64_t group;  // what --group-size is without being given; 0: the type has none
};

constexpr std::array<FolderType, 7> kFolderTypes = {{
    {"nf4", Kind::bnb4, 64},
    {"fp4", Kind::bnb4, 64},
    {"llm_int8", Kind::int8_rows, 0},
    {"fp8", Kind::fp8_tiles, 0},
    {"fp8_block", Kind::fp8_tiles, 128},
    {"int8", Kind::integers, 128},
    {"int4", Kind::integers, 128},
}};

constexpr std::array<DType, 3> kPlain = {DType::f32, DType::bf16, DType::f16};

std::string folder_type_names() {
  std::string names;
  for (const FolderType& type : kFolderTypes) names += (names.empty() ? "" : ", ") + std::string(type.name);
  return names + ", f32, bf16, f16";
}

[[noreturn]] void unknown(const std::string& type) {
  std::vector<std::string_view> names;
  for (const FolderType& known : kFolderTypes) names.push_back(known.name);
  for (const GgufFileType& known : gguf_file_types()) names.push_back(known.name);
  const std::string_view near = nearest_name(type, names);
  throw caller_error("--type",
                     fmt::format("'{}' is none of {} (folders), {} (.gguf)", one_line(type, 40), folder_type_names(),
                                 gguf_file_type_names()),
                     near.empty() ? "give one of these" : fmt::format("did you mean {}?", near));
}

int64_t checked_group(const FolderType& type, const QuantizeTypeRequest& request) {
  if (!request.group_size) return type.group;
  const int64_t size = *request.group_size;
  if (type.group == 0)
    throw caller_error("--group-size", fmt::format("{} has no groups", type.name),
                       "leave it out, or choose nf4, fp4, int4, int8 or fp8_block");
  const bool power = size > 0 && (size & (size - 1)) == 0;
  if (type.kind == Kind::bnb4 && (!power || size < 32 || size > 4096))
    throw caller_error("--group-size", fmt::format("{} is none of 32, 64, 128, … 4096", size),
                       "bitsandbytes has blocks of these sizes; 64 is usual");
  if (size < 8 || size > 16384)
    throw caller_error("--group-size", fmt::format("{} is not from 8 to 16384", size), "128 is usual, 32 is finer");
  return size;
}

QuantizeType folder_type(const FolderType& type, const QuantizeTypeRequest& request) {
  const int64_t group = checked_group(type, request);
  QuantizeType out;
  out.name = type.name;
  out.kind = QuantizeType::Kind::packed;
  out.rest = request.rest;
  out.exact_groups = request.group_size.has_value();
  PackedFormat& format = out.packed;
  format.kind = type.kind;
  format.restored = DType::f32;
  switch (type.kind) {
    case Kind::bnb4:
      format.bnb4 = type.name == "nf4" ? Bnb4Type::nf4 : Bnb4Type::fp4;
      format.block = group;
      format.nested = request.double_quant;
      format.restored = request.rest;
      break;
    case Kind::int8_rows:
      break;
    case Kind::fp8_tiles:
      format.tile_rows = format.tile_cols = group;
      format.inverse_name = group > 0;
      format.scale = DType::f32;
      break;
    case Kind::integers:
      format.bits = type.name == "int4" ? 4 : 8;
      format.symmetric = request.symmetric;
      format.group = group;
      format.scale = request.rest;
      if (!format.symmetric) format.restored = request.rest;
      break;
  }
  return out;
}

}  // namespace

QuantizeType find_quantize_type(const QuantizeTypeRequest& request) {
  const bool to_gguf = request.out.ends_with(".gguf");
  const GgufFileType* gguf = find_gguf_file_type(request.type);
  for (const FolderType& type : kFolderTypes) {
    if (type.name != request.type) continue;
    if (to_gguf)
      throw caller_error("--type", fmt::format("{} exists in folders only, and --out is a GGUF file", type.name),
                         "give --out the name of a folder, or a type of GGUF such as q4_k_m");
    return folder_type(type, request);
  }
  if (gguf == nullptr) unknown(request.type);
  if (request.group_size)
    throw caller_error("--group-size", fmt::format("{} takes none", request.type), "leave it out");
  QuantizeType out;
  out.name = gguf->name;
  if (to_gguf) {
    out.kind = QuantizeType::Kind::gguf;
    out.gguf = gguf;
    return out;
  }
  for (const DType plain : kPlain)
    if (gguf->base == plain) {
      out.rest = plain;
      return out;
    }
  throw caller_error(
      "--type", fmt::format("{} exists in GGUF only, and '{}' is a folder", request.type, one_line(request.out, 80)),
      fmt::format("give --out a name that ends in .gguf, or one of {}", folder_type_names()));
}

}  // namespace plimsoll

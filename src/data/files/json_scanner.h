// Where JSON values begin and end, without building them: strings and nesting only. What is found is parsed elsewhere.
#pragma once

#include <string>

#include "data/files/char_stream.h"

namespace plimsoll {

// Takes one value from the stream, which stands at its first character, and appends its bytes to `text` unless that is
// nullptr. A value that is not valid JSON ends somewhere behind it. False: the file ended inside of it, or `text`
// became longer than `limit` bytes.
bool take_json_value(CharStream& stream, std::string* text, int64_t limit);

enum class RowArray { found, none, broken };

// Of a document that begins with {: looks for "data" or "train" with an array of objects among its own keys, and leaves
// the stream behind the array's [. Nothing is kept of what is passed over.
RowArray find_row_array(CharStream& stream);

}  // namespace plimsoll

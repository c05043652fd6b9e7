#include "base/regular_file.h"

#include <sys/stat.h>

#include "base/error.h"
#include "base/text.h"

namespace plimsoll {

void require_regular_file(const std::string& path, const std::string& way_out) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode)) return;
  throw caller_error(one_line(path, 200),
                     S_ISDIR(status.st_mode)    ? "is a folder, not a file"
                     : S_ISFIFO(status.st_mode) ? "is a pipe, not a file"
                                                : "is a device, not a file",
                     way_out);
}

}  // namespace plimsoll

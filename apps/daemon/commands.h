#pragma once

#include "command.h"

namespace ebb::cli {

// The commands of this program, each in commands/NAME.cc: given the words after its name, it returns the exit
// status.
int serve_main(Words words);
int config_main(Words words);
int user_main(Words words);
int audit_main(Words words);
int doctor_main(Words words);

}  // namespace ebb::cli

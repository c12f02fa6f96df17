#pragma once

#include "command.h"

namespace ebb::cli {

// The commands of this program, each in commands/NAME.cc: given the words after its name, it returns the exit
// status.
int run_main(Words words);
int submit_main(Words words);
int ps_main(Words words);
int status_main(Words words);
int why_main(Words words);
int logs_main(Words words);
int wait_main(Words words);
int report_main(Words words);
int cancel_main(Words words);
int devices_main(Words words);
int drain_main(Words words);
int resume_main(Words words);

}  // namespace ebb::cli

#include "named_seeds.h"

namespace ebb::simulation {

// Each was seen to fail with its defect put back, in the model of today.
const std::vector<NamedSeed>& named_seeds() {
  static const std::vector<NamedSeed> all = {
      // engine
      {.seed = 24,
       .options = {},
       .what = "a quarantined port that came free was noticed by nobody, and jobs waited for it for ever"},
      {.seed = 115'100,
       .options = {},
       .what = "an attempt that ended before all was restored was released twice, at RestoreDone again"},
      {.seed = 108'370, .options = {}, .what = "the same, where the keeper died beside the daemon"},
      // daemon
      {.seed = 4,
       .options = {},
       .what = "a GPU that was quarantined when the daemon ended was looked at once at the next start"},
      {.seed = 5254,
       .options = {},
       .what = "a keeper died before it handed its locks over, and the quarantined GPU was anybody's"},
      {.seed = 765, .options = {}, .what = "the same, while its processes were being killed"},
      {.seed = 523'046,
       .options = {},
       .what = "a stopped keeper of an ended job was the last that held the next job's lock, and was killed"},
      // the simulator itself
      {.seed = 153'626,
       .options = {},
       .what = "at rest was said while a keeper's locks were on their way to the daemon"},
      {.seed = 1565, .options = {}, .what = "a daemon that had died went on giving locks back"},
      {.seed = 303'802,
       .options = {},
       .what = "a stop that an earlier daemon had decided was taken for a new one"},
      {.seed = 35'236,
       .options = {},
       .what = "a lock that an earlier attempt's keeper had until now was to be the daemon's at once"},
      {.seed = 513'756,
       .options = {},
       .what = "a lock that a neighbour had had was asked for five seconds after the report only"},
  };
  return all;
}

}  // namespace ebb::simulation

// ebb-keeper: see ebb/process/keeper.h.
#include "ebb/process/keeper.h"

int main(int argc, char** argv) { return ebb::process::keeper_main({argv, static_cast<std::size_t>(argc)}); }

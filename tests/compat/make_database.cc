// make_database FOLDER: writes there the database that is saved for the version that this program has. Run it
// once when the version changes, before the change is released, and keep the file as databases/vN.db.
#include <cstdio>
#include <future>

#include "ebb/store/store.h"
#include "rows.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_database FOLDER\n");
    return 2;
  }
  auto store = ebb::store::Store::open(argv[1]);
  if (!store) {
    std::fprintf(stderr, "%s\n", store.error().message.c_str());
    return 1;
  }
  std::promise<ebb::Result<void>> promise;
  store->commit(ebb::store::all_rows(),
                [&](const ebb::store::Store::Outcome& outcome) { promise.set_value(outcome.result); });
  const auto written = promise.get_future().get();
  if (!written) std::fprintf(stderr, "%s\n", written.error().message.c_str());
  return written ? 0 : 1;
}

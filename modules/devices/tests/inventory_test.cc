#include "ebb/devices/inventory.h"

#include "support.h"

namespace ebb::devices {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Kind = GpuChoice::Kind;

NvmlList machine() {
  NvmlList list;
  list.driver = "570";
  for (int id = 0; id < 4; ++id) {
    Gpu gpu;
    gpu.id = id;
    gpu.uuid = "GPU-" + std::to_string(id);
    gpu.minor = 3 - id;  // numbered otherwise than NVML does, as on real machines
    list.gpus.push_back(gpu);
  }
  list.gpus[2].refused = "MIG is on: its instances are offered in its place";
  Gpu mig = list.gpus[2];
  mig.id = 4;
  mig.kind = GpuKind::mig;
  mig.uuid = "MIG-a";
  mig.parent = 2;
  mig.refused.clear();
  list.gpus.push_back(mig);
  list.closeness = {{0, 400, 1, 7, 0}, {400, 0, 0, 9, 0}, {1, 0, 0, 0, 0}, {7, 9, 0, 0, 0}, {0, 0, 0, 0, 0}};
  return list;
}

std::vector<int> ids(const Inventory& inventory) {
  std::vector<int> result;
  for (const Gpu& gpu : inventory.gpus) result.push_back(gpu.id);
  return result;
}

TEST(GpuChoice, ReadsTheFourForms) {
  EXPECT_EQ(parse_gpu_choice("auto")->kind, Kind::automatic);
  EXPECT_EQ(parse_gpu_choice("none")->kind, Kind::none);
  const auto listed = parse_gpu_choice("3,0,1");
  ASSERT_TRUE(listed);
  EXPECT_EQ(listed->kind, Kind::listed);
  EXPECT_THAT(listed->ids, ElementsAre(0, 1, 3));
  EXPECT_EQ(parse_gpu_choice("declared:4")->declared, 4);
}

TEST(GpuChoice, RefusesTheRestAndNamesIt) {
  for (const char* text : {"", "-1", "0,,1", "0,x", "1.5", "0,0", "declared:", "declared:0", "declared:-2",
                           "declared:1025", "AUTO", "0-3", "99999999999"}) {
    const auto choice = parse_gpu_choice(text);
    ASSERT_FALSE(choice) << text;
    EXPECT_EQ(choice.error().code, Errc::invalid);
    EXPECT_THAT(choice.error().message, HasSubstr(std::string("'") + text + "'"));
  }
}

TEST(Inventory, AutomaticOffersWhatIsNotRefusedAndSaysTheRest) {
  const auto inventory = take_inventory({}, machine());
  ASSERT_TRUE(inventory);
  EXPECT_THAT(ids(*inventory), ElementsAre(0, 1, 3, 4));
  EXPECT_EQ(inventory->closeness,
            (std::vector<std::vector<int>>{{0, 400, 7, 0}, {400, 0, 9, 0}, {7, 9, 0, 0}, {0, 0, 0, 0}}));
  EXPECT_THAT(inventory->notes, ElementsAre(HasSubstr("GPU 2 is not offered: MIG is on")));
  EXPECT_EQ(inventory->machine.size(), 5U);
}

TEST(Inventory, WithoutADriverAutomaticHasNoGpusAndAListFails) {
  const Result<NvmlList> none =
      Error{.code = Errc::unavailable, .message = "no NVIDIA driver", .pointer = {}, .type = {}};
  const auto inventory = take_inventory({}, none);
  ASSERT_TRUE(inventory);
  EXPECT_TRUE(inventory->gpus.empty());
  EXPECT_THAT(inventory->notes, ElementsAre(HasSubstr("no NVIDIA driver")));
  const auto listed = take_inventory(*parse_gpu_choice("0"), none);
  ASSERT_FALSE(listed);
  EXPECT_THAT(listed.error().message, HasSubstr("no NVIDIA driver"));
}

TEST(Inventory, ListedGpusMustExistAndBeLeasable) {
  EXPECT_THAT(ids(*take_inventory(*parse_gpu_choice("3,0"), machine())), ElementsAre(0, 3));
  const auto missing = take_inventory(*parse_gpu_choice("0,7"), machine());
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("GPU 7"));
  EXPECT_THAT(missing.error().message, HasSubstr("0 1 2 3 4"));
  const auto refused = take_inventory(*parse_gpu_choice("2"), machine());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("MIG is on"));
}

TEST(Inventory, DeclaredGpusNeedNoDriver) {
  const auto inventory =
      take_inventory(*parse_gpu_choice("declared:2"),
                     Error{.code = Errc::unavailable, .message = "", .pointer = {}, .type = {}});
  ASSERT_TRUE(inventory);
  EXPECT_THAT(ids(*inventory), ElementsAre(0, 1));
  EXPECT_EQ(inventory->gpus[1].uuid, "declared-1");
  EXPECT_EQ(cuda_name(inventory->gpus[1]), "1");
  EXPECT_TRUE(inventory->notes.empty());
  EXPECT_EQ(inventory->closeness.size(), 2U);
}

TEST(Gpu, IsNamedByIndexAndMigByUuid) {
  const auto list = machine();
  EXPECT_EQ(cuda_name(list.gpus[3]), "3");
  EXPECT_EQ(cuda_name(list.gpus[4]), "MIG-a");
  EXPECT_EQ(label(list.gpus[4]), "4 (MIG-a)");
}

TEST(MaskedNodes, AreThoseOfGpusThatTheJobDoesNotLease) {
  const auto inventory = take_inventory(*parse_gpu_choice("0,1,4"), machine());
  ASSERT_TRUE(inventory);
  const std::vector<int> minors = {0, 1, 2, 3, 9};
  EXPECT_THAT(masked_nodes(*inventory, std::vector<int>{0}, minors),
              ElementsAre("/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2", "/dev/nvidia9"));
  EXPECT_THAT(masked_nodes(*inventory, std::vector<int>{4}, minors),
              ElementsAre("/dev/nvidia0", "/dev/nvidia2", "/dev/nvidia3", "/dev/nvidia9"))
      << "a MIG instance needs its parent's node";
  EXPECT_EQ(masked_nodes(*inventory, {}, minors).size(), 5U) << "--gpus 0 sees none";
}

TEST(MaskedNodes, AreNoneForDeclaredGpusAndAllWithoutGpus) {
  const Result<NvmlList> nothing = Error{.code = Errc::unavailable, .message = "", .pointer = {}, .type = {}};
  const std::vector<int> minors = {0, 1};
  EXPECT_TRUE(masked_nodes(*take_inventory(*parse_gpu_choice("declared:2"), nothing), {}, minors).empty());
  EXPECT_EQ(masked_nodes(*take_inventory(*parse_gpu_choice("none"), nothing), {}, minors).size(), 2U);
}

TEST(DeviceMinors, AreTheNumberedNodesOnly) {
  const test::TempDir folder;
  for (const char* name : {"nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia", "nvidia3x", "null"}) {
    std::ofstream(folder / name).put('\n');
  }
  EXPECT_THAT(device_minors(folder.path()), ElementsAre(0, 12));
}

}  // namespace
}  // namespace ebb::devices

#include "ebb/devices/nvml_protocol.h"

#include <gtest/gtest.h>

namespace ebb::devices::nvml {
namespace {

NvmlList two_gpus() {
  NvmlList list;
  list.driver = "570.86.15";
  Gpu gpu;
  gpu.uuid = "GPU-1";
  gpu.name = "NVIDIA H200";
  gpu.pci = "0000:3b:00.0";
  gpu.memory_mib = 143'771;
  gpu.numa_node = 1;
  gpu.minor = 0;
  list.gpus.push_back(gpu);
  gpu.id = 1;
  gpu.kind = GpuKind::mig;
  gpu.uuid = "MIG-2";
  gpu.parent = 0;
  gpu.refused = "no";
  list.gpus.push_back(gpu);
  list.closeness = {{0, 1800}, {1800, 0}};
  return list;
}

TEST(NvmlProtocol, ListReadsBackAsWritten) {
  const auto answer = parse_answer(write_answer(7, two_gpus()));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->id, 7U);
  ASSERT_TRUE(answer->payload);
  EXPECT_EQ(std::get<NvmlList>(*answer->payload), two_gpus());
}

TEST(NvmlProtocol, UsageReadsBackAsWritten) {
  const GpuUsage usage{.uuid = "GPU-1",
                       .driver = "570",
                       .used_mib = 517,
                       .total_mib = 1000,
                       .includes_reserved = true,
                       .processes = {{.pid = 4711, .mib = 500}, {.pid = 4712, .mib = std::nullopt}}};
  const auto answer = parse_answer(write_answer(8, usage));
  ASSERT_TRUE(answer && answer->payload);
  EXPECT_EQ(std::get<GpuUsage>(*answer->payload), usage);
}

TEST(NvmlProtocol, ErrorReadsBackOnOneLine) {
  const std::string text =
      write_error(9, {.code = Errc::io, .message = "GPU\nis\tlost", .pointer = {}, .type = {}});
  EXPECT_TRUE(is_complete(text));
  const auto answer = parse_answer(text);
  ASSERT_TRUE(answer);
  ASSERT_FALSE(answer->payload);
  EXPECT_EQ(answer->payload.error().code, Errc::io);
  EXPECT_EQ(answer->payload.error().message, "GPU is lost");
}

TEST(NvmlProtocol, NamesCannotEndAFieldOrALine) {
  NvmlList list = two_gpus();
  list.gpus[0].name = "bad\tname\nend";
  const auto answer = parse_answer(write_answer(1, list));
  ASSERT_TRUE(answer && answer->payload);
  EXPECT_EQ(std::get<NvmlList>(*answer->payload).gpus[0].name, "bad name end");
}

TEST(NvmlProtocol, EveryCutAnswerIsIncompleteOrRefused) {
  const std::string whole = write_answer(7, two_gpus());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(is_complete(std::string_view(whole).substr(0, length))) << length;
    EXPECT_FALSE(parse_answer(std::string_view(whole).substr(0, length))) << length;
  }
}

TEST(NvmlProtocol, AnswersThatNobodyWritesAreRefused) {
  for (const char* text :
       {"hello\n", "ebb-nvml 2 1 ok\ndriver\t1\nend\n", "ebb-nvml 1 x ok\nend\n", "ebb-nvml 1 1 ok\nend\n",
        "ebb-nvml 1 1 error 99 text\n", "ebb-nvml 1 1 error 3\n", "ebb-nvml 1 1 ok\ngpu\t0\nend\n",
        "ebb-nvml 1 1 ok\ndriver\t1\nnear\t0\t1\t5\nend\n",
        "ebb-nvml 1 1 ok\nusage\tu\td\nmemory\t-1\t5\t0\nend\n",
        "ebb-nvml 1 1 ok\nusage\tu\td\nprocess\t1\tmany\nend\n"}) {
    const auto answer = parse_answer(text);
    ASSERT_FALSE(answer) << text;
    EXPECT_EQ(answer.error().code, Errc::corrupt);
  }
}

TEST(NvmlProtocol, RequestsReadBackAndOthersAreRefused) {
  const std::string list = write_request({.id = 3, .uuid = {}});
  ASSERT_TRUE(list.ends_with('\n'));
  EXPECT_EQ(parse_request(std::string_view(list).substr(0, list.size() - 1))->uuid, "");
  const std::string usage = write_request({.id = 4, .uuid = "MIG-GPU-1/2/0"});
  const auto request = parse_request(std::string_view(usage).substr(0, usage.size() - 1));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->id, 4U);
  EXPECT_EQ(request->uuid, "MIG-GPU-1/2/0");
  for (const char* text : {"", "list", "1", "1 usage", "1 usage a b", "1 usage a;b", "-1 list", "1 drop"}) {
    EXPECT_FALSE(parse_request(text)) << text;
  }
}

}  // namespace
}  // namespace ebb::devices::nvml

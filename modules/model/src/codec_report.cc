#include "codec.h"

namespace ebb::model {

EBB_MODEL_ENUM(ReleaseKind)
EBB_MODEL_ENUM(Outcome)
EBB_MODEL_ENUM(DeviceState)
EBB_MODEL_CODEC(OutsideUse)
EBB_MODEL_CODEC(ReleaseRecord)
EBB_MODEL_CODEC(Report)
EBB_MODEL_CODEC(Gpu)
EBB_MODEL_CODEC(Port)
EBB_MODEL_CODEC(Devices)

}  // namespace ebb::model

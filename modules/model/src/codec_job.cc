#include "codec.h"

namespace ebb::model {

EBB_MODEL_ENUM(JobState)
EBB_MODEL_ENUM(StopKind)
EBB_MODEL_CODEC(StopReason)
EBB_MODEL_CODEC(Exit)
EBB_MODEL_CODEC(Ready)
EBB_MODEL_CODEC(OwnerRequest)
EBB_MODEL_CODEC(JobRequest)
EBB_MODEL_CODEC(OwnerView)
EBB_MODEL_CODEC(Job)
EBB_MODEL_CODEC(JobList)

}  // namespace ebb::model

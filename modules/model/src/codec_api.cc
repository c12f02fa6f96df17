#include "codec.h"

namespace ebb::model {

EBB_MODEL_ENUM(BlockerKind)
EBB_MODEL_CODEC(Holder)
EBB_MODEL_CODEC(Blocker)
EBB_MODEL_CODEC(Why)
EBB_MODEL_CODEC(Event)
EBB_MODEL_CODEC(User)
EBB_MODEL_CODEC(UserList)
EBB_MODEL_CODEC(UserRequest)
EBB_MODEL_CODEC(UserKey)
EBB_MODEL_CODEC(Problem)

}  // namespace ebb::model

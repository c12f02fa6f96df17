// Typed dataflow pipelines in one process: everything that a program needs. docs/pipelines.md teaches it.
#pragma once

#include "ebb/flow/connected.h"
#include "ebb/flow/data_stream.h"
#include "ebb/flow/environment.h"
#include "ebb/flow/io/sinks.h"
#include "ebb/flow/pipeline.h"
#include "ebb/flow/pipeline_service.h"
#include "ebb/flow/policy.h"
#include "ebb/flow/signals.h"
#include "ebb/flow/stream.h"

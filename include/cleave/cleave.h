/* cleave.h: everything Cleave offers. Each area has its own small header. */
#ifndef CLEAVE_CLEAVE_H
#define CLEAVE_CLEAVE_H

#include <cleave/augment.h>
#include <cleave/backbone.h>
#include <cleave/bank.h>
#include <cleave/base.h>
#include <cleave/data.h>
#include <cleave/device.h>
#include <cleave/eval.h>
#include <cleave/graph.h>
#include <cleave/image.h>
#include <cleave/loss.h>
#include <cleave/option.h>
#include <cleave/profile.h>
#include <cleave/text.h>
#include <cleave/train.h>
#include <cleave/transform.h>
#include <cleave/view.h>

#endif

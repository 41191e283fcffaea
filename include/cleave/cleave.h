/* cleave.h: everything Cleave offers. Each area has its own small header. */
#ifndef CLEAVE_CLEAVE_H
#define CLEAVE_CLEAVE_H

#include <cleave/base.h>
#include <cleave/view.h>
#include <cleave/option.h>
#include <cleave/graph.h>
#include <cleave/loss.h>
#include <cleave/bank.h>
#include <cleave/backbone.h>

#endif

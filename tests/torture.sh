#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/torture.sh BUILD [KILLS]: tests/system/torture.sh, the long way; 1,000 kills take about a quarter of an hour.
KEYFOB_TORTURE_KILLS=${2:-1000} exec "$(dirname "$0")/run" "$1" torture

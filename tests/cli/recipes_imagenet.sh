#!/bin/sh
# Recipes for ImageNet start as they are: with real sizes, and so not under the sanitizers; test_recipes.c trains small ones.
case ${BUILD:-} in ''|*/release) exec sh tests/support/dry_run.sh recipes/*-imagenet.yaml ;; esac
echo "recipes of real size are started by the release build"
exit 77

# What this machine has, asked from pkg-config. Nothing here fails: DEP_MISSING is set and the first rule that compiles
# says what to do, so that `make help` and `make deps` work on a bare system.
PKG_CONFIG ?= pkg-config
PKGS := hdf5 libturbojpeg libjpeg spng zlib yaml-0.1 jansson libprotobuf-c
# OpenBLAS must be its OpenMP build: the pthread build fights libgomp. Debian keeps the builds side by side under one
# soname, so the run path names the folder, too.
OPENBLAS_DIR := $(firstword $(wildcard /usr/lib/$(shell $(CC) -dumpmachine 2>/dev/null)/openblas-openmp))
export PKG_CONFIG_PATH := $(if $(OPENBLAS_DIR),$(OPENBLAS_DIR)/pkgconfig:)$(PKG_CONFIG_PATH)
DEP_MISSING := $(shell $(PKG_CONFIG) --exists $(PKGS) openblas 2>/dev/null || echo yes)
DEP_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) openblas 2>/dev/null)
OPENBLAS_LIBS := $(shell $(PKG_CONFIG) --libs openblas 2>/dev/null) $(OPENBLAS_DIR:%=-Wl,-rpath,%)
DEP_LIBS   := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) $(OPENBLAS_LIBS) -ldnnl -lm
FREETYPE_CFLAGS = $(shell $(PKG_CONFIG) --cflags freetype2)
FREETYPE_LIBS   = $(shell $(PKG_CONFIG) --libs freetype2)

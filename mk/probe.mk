# What this machine has, asked from pkg-config. OpenBLAS must be its OpenMP build: the pthread build fights libgomp.
PKG_CONFIG ?= pkg-config
PKGS := hdf5 libturbojpeg spng zlib yaml-0.1 jansson openblas
export PKG_CONFIG_PATH := $(wildcard /usr/lib/$(shell $(CC) -dumpmachine 2>/dev/null)/openblas-openmp/pkgconfig):$(PKG_CONFIG_PATH)
DEP_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
DEP_LIBS   := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -ldnnl -lm

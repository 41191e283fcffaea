# make install DESTDIR= PREFIX=, and back.
BINDIR  ?= $(PREFIX)/bin
LIBDIR  ?= $(PREFIX)/lib
INCDIR  ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
MANDIR  ?= $(DATADIR)/man
COMPDIR ?= $(DATADIR)/bash-completion/completions
RECIPES  = $(shell cd recipes && find . -type f ! -path './tools/*' | LC_ALL=C sort)
MAN_PAGES := $(sort $(wildcard docs/man/*.1))
COMPLETION := $(wildcard cli/completion.bash)
D := $(DESTDIR)

.PHONY: install uninstall dist
install: all $(SHARED) ## install below PREFIX (/usr/local); DESTDIR is put before it
	install -d $(D)$(BINDIR) $(D)$(LIBDIR)/pkgconfig $(D)$(INCDIR)/cleave $(D)$(DATADIR)/cleave/recipes
	install -m 755 $(BUILD)/cleave $(D)$(BINDIR)/cleave
	install -m 644 include/cleave/*.h $(D)$(INCDIR)/cleave/
	install -m 644 $(BUILD)/libcleave.a $(D)$(LIBDIR)/
	install -m 755 $(SHARED) $(MPI_BACKEND) $(D)$(LIBDIR)/
	ln -sfn $(notdir $(SHARED)) $(D)$(LIBDIR)/$(SONAME)
	ln -sfn $(SONAME) $(D)$(LIBDIR)/libcleave.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCDIR@|$(INCDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@REQUIRES@|$(PKGS)|' -e 's|@LIBS@|$(OPENBLAS_LIBS) -ldnnl -lgomp -lpthread -lm|' \
	    cleave.pc.in > $(D)$(LIBDIR)/pkgconfig/cleave.pc
	@for f in $(RECIPES); do install -D -m $$([ -x recipes/$$f ] && echo 755 || echo 644) \
	    recipes/$$f $(D)$(DATADIR)/cleave/recipes/$$f || exit 1; done
	$(if $(MAN_PAGES),install -d $(D)$(MANDIR)/man1 && install -m 644 $(MAN_PAGES) $(D)$(MANDIR)/man1/)
	$(if $(COMPLETION),install -D -m 644 $(COMPLETION) $(D)$(COMPDIR)/cleave)

uninstall: ## remove what install put there (same PREFIX and DESTDIR)
	rm -f $(D)$(BINDIR)/cleave $(D)$(LIBDIR)/libcleave.a $(D)$(LIBDIR)/libcleave.so $(D)$(LIBDIR)/$(SONAME)* $(D)$(LIBDIR)/libcleave_mpi.so \
	    $(D)$(LIBDIR)/pkgconfig/cleave.pc $(D)$(COMPDIR)/cleave $(MAN_PAGES:docs/man/%=$(D)$(MANDIR)/man1/%)
	rm -rf $(D)$(INCDIR)/cleave $(D)$(DATADIR)/cleave

dist: ## a source archive of the last commit, build/cleave-VERSION.tar.gz
	@mkdir -p build
	git archive --prefix=cleave-$(VERSION)/ -o build/cleave-$(VERSION).tar.gz HEAD

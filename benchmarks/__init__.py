"""Side-by-side measurements of skdiffusion and its peers; each module is one command."""

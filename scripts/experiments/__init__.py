"""Tables of trainings: catalogues of experiments, their runs, and the pages made of these alone."""

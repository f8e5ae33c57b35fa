"""The paper's analyses, on files of answers and on recorded runs: figures, tables, one page."""

"""`excel-cam tags --predict`: photographs and class names → scores, and tags chosen by them."""

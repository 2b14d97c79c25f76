"""Prepaid credit: granted, drawn by invoices, given back by credit notes, expired."""
